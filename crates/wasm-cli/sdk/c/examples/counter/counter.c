// Counts how often it was sent each word, in storage.

#include "airssys.h"

AIRSSYS_COMPONENT("counter", "0.1.0");

bool airssys_handle(const airssys_message *message) {
  int64_t count;
  if (!airssys_get_number(message->payload, &count)) return false;
  if (!airssys_set_number(message->payload, count + 1)) return false;
  return airssys_reply("%lld", (long long)count + 1);
}
