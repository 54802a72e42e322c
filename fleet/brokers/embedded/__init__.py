"""The embedded MQTT broker: amqtt keeps sessions and subscriptions, everything that must be bounded is ours.

A byte that arrives goes through: `connection` (frames cut and checked by `frames`) → `guard` (who is this, may it
connect) → amqtt, for the packets that open, subscribe and close → `broker` (who gets a message, by `routing`) →
`lanes` (a bounded queue for each client) → `connection`.
"""
