"""mosquitto, with its logins kept in its dynamic-security plugin."""
