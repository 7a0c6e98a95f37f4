"""Counts how often it was sent each word, in storage."""

from airssys import Component, export, storage


class Counter(Component):
    def handle(self, message):
        count = int(storage.get(message.text, b"0")) + 1
        storage[message.text] = str(count)
        return str(count)


ComponentLifecycle = export(Counter, name="counter", version="0.1.0")
