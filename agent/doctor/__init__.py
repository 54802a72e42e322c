"""`edge-agent doctor`: what keeps this device from working, and what to do about it."""
