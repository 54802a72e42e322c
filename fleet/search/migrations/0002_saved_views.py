from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.db import migrations, models


def to_addresses(apps, schema_editor):
    for view in apps.get_model("search", "SavedView").objects.all():
        view.address = "/devices?" + urlencode({"q": view.address})
        view.save()


def to_searches(apps, schema_editor):
    """Views of other pages have none, and go."""
    for view in apps.get_model("search", "SavedView").objects.all():
        address = urlsplit(view.address)
        query = parse_qs(address.query).get("q", [""])[0][:500]
        if address.path == "/devices" and query:
            view.address = query
            view.save()
        else:
            view.delete()


class Migration(migrations.Migration):
    """A search that was kept is a view of the list of devices."""

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('search', '0001_initial'),
    ]

    operations = [
        migrations.RenameModel('SavedFilter', 'SavedView'),
        migrations.RenameField('savedview', 'query', 'address'),
        migrations.AlterField(
            model_name='savedview',
            name='owner',
            field=models.ForeignKey(on_delete=models.deletion.CASCADE, related_name='views', to=settings.AUTH_USER_MODEL),
        ),
        migrations.RemoveConstraint('savedview', 'one_filter_of_a_name'),
        migrations.AddConstraint(
            model_name='savedview',
            constraint=models.UniqueConstraint(fields=['owner', 'name'], name='one_view_of_a_name'),
        ),
        migrations.AlterField(
            model_name='savedview',
            name='address',
            field=models.CharField(max_length=1000),
        ),
        migrations.RunPython(to_addresses, to_searches),
    ]
