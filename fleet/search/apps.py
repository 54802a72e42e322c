from django.apps import AppConfig


class SearchConfig(AppConfig):
    name = "fleet.search"
