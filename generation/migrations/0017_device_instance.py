"""Which data folder serves a device, and since when."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('generation', '0016_kept'),
    ]

    operations = [
        migrations.AddField(
            model_name='device',
            name='claimed_at',
            field=models.DateTimeField(blank=True, help_text='when a cluster last took it', null=True),
        ),
        migrations.AddField(
            model_name='device',
            name='instance',
            field=models.CharField(blank=True, help_text='the data folder that serves it', max_length=40),
        ),
    ]
