from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "fleet.gateway"
