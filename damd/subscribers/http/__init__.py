"""What the webhook subscriber is made of: where it may connect, how it connects, what it signs with."""
