"""The look-alike model: nearest exemplars of users whose outcome is known."""
