from django.db import migrations, models


def all_there_are(apps, schema_editor):
    """Samples were summed up in the transaction that stored them."""
    last = apps.get_model("telemetry", "Sample").objects.order_by("-id").values_list("id", flat=True).first()
    apps.get_model("telemetry", "Summed").objects.create(id=1, sample=last or 0)


class Migration(migrations.Migration):

    dependencies = [
        ('telemetry', '0004_budgets'),
    ]

    operations = [
        migrations.AddField(
            model_name='sample',
            name='latency',
            field=models.BinaryField(null=True),
        ),
        migrations.CreateModel(
            name='Summed',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sample', models.BigIntegerField(default=0)),
            ],
        ),
        migrations.RunPython(all_there_are, migrations.RunPython.noop),
    ]
