from django.core.management.base import CommandError
from django.db import migrations, models
from django.db.models.functions import Lower


def addresses_to_lower(apps, schema_editor):
    """Two people whose addresses differ only in case stop this migration: an operator has to rename one."""
    people = apps.get_model("accounts", "User").objects
    known = {}
    for email in people.order_by("created_at").values_list("email", flat=True):
        if (first := known.setdefault(email.lower(), email)) != email:
            raise CommandError(
                f"The addresses {first} and {email} differ only in case. "
                "Change one as docs/operations.md says (Two addresses that differ only in case), then start again."
            )
    people.update(email=Lower("email"))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_must_change_password")]

    operations = [
        migrations.RunPython(addresses_to_lower, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                Lower("email"),
                name="one_person_per_address",
                violation_error_message="Somebody here has this address already.",
            ),
        ),
    ]
