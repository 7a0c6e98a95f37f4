// Tells everybody at once: a broadcast.
//
//   announce NEWS

#include <string.h>

#include "airssys.h"

AIRSSYS_COMPONENT("boss", "1.0.0");

static const char *const everybody[] = {"cafe/waiter/ada", "cafe/waiter/ben", "cafe/till/main"};

bool airssys_handle(const airssys_message *message) {
  static const char announce[] = "announce ";
  const char *news = message->payload + sizeof announce - 1;
  if (strncmp(message->payload, announce, sizeof announce - 1) != 0)
    return airssys_fail("the boss knows `announce NEWS`");
  if (!airssys_broadcast(everybody, sizeof everybody / sizeof *everybody, news, strlen(news)))
    return false;
  return airssys_reply("everybody knows: %s", news);
}
