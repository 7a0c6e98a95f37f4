"""Greets, and counts whom it greeted."""

from airssys import Component, export, log, storage


class Greeter(Component):
    def __init__(self, config):
        self.greeting = config.text or "hello"

    def handle(self, message):
        name = message.text
        count = int(storage.get(name, b"0")) + 1
        storage[name] = str(count)
        log.info(f"{name} was greeted {count} times")
        return f"{self.greeting} {name}"


ComponentLifecycle = export(Greeter, name="@NAME@", version="0.1.0")
