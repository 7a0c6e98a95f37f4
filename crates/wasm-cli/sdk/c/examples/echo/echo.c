// Answers with what it was sent.

#include "airssys.h"

AIRSSYS_COMPONENT("echo", "0.1.0");

bool airssys_handle(const airssys_message *message) {
  return airssys_reply_bytes(message->payload, message->length);
}
