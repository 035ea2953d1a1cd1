"""Forms about yourself."""

from django import forms

from accounts.models import User


class PreferencesForm(forms.ModelForm):  # type: ignore[type-arg]
    """What one chooses for the own pictures."""

    class Meta:
        model = User
        fields = ("recipes_travel",)
