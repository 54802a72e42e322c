from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class RolloutsConfig(AppConfig):
    name = "fleet.rollouts"

    def ready(self) -> None:
        post_migrate.connect(_refuse, sender=self)


def _refuse(using, **_) -> None:
    from fleet.rollouts.refusals import install

    install(connections[using])
