from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0007_runtime'),
    ]

    operations = [
        migrations.AddField(
            model_name='enrollmenttoken',
            name='tags',
            field=models.JSONField(blank=True, default=dict),
        ),
    ]
