from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('generation', '0015_draining'),
    ]

    operations = [
        migrations.AddField(
            model_name='generationrequest',
            name='kept',
            field=models.PositiveSmallIntegerField(default=0, help_text='pictures that are kept while the rest waits'),
        ),
        migrations.AddField(
            model_name='generationrequest',
            name='kept_seconds',
            field=models.FloatField(default=0, help_text='of the device, for those'),
        ),
    ]
