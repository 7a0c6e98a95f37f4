"""Asks the echo, and knows its last answer.

last   the answer
TEXT   is what it asks
"""

from airssys import Component, export, request


class Request(Component):
    last = "nothing yet"

    def handle(self, message):
        if message.text == "last":
            return self.last
        request("sdk/echo/main", message.payload, 1000, self.answered)
        return "asked"

    def answered(self, answer):
        self.last = f"no answer: {answer.error}" if answer.error else answer.text


ComponentLifecycle = export(Request, name="request", version="0.1.0")
