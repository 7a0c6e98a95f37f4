// Greets, and counts whom it greeted.

#include "airssys.h"

#include <string.h>

AIRSSYS_COMPONENT("@NAME@", "0.1.0");

static char greeting[64] = "hello";

bool airssys_start(const char *config, size_t length) {
  if (length >= sizeof greeting) return airssys_fail("a greeting has up to 63 bytes");
  if (config != NULL) strcpy(greeting, config);
  return true;
}

bool airssys_handle(const airssys_message *message) {
  const char *name = message->payload;
  int64_t count;
  if (!airssys_get_number(name, &count)) return false;
  if (!airssys_set_number(name, count + 1)) return false;
  airssys_log(AIRSSYS_INFO, "%s was greeted %lld times", name, (long long)count + 1);
  return airssys_reply("%s %s", greeting, name);
}
