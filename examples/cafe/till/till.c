// Keeps the coins, in storage.
//
//   NUMBER   puts in so many
//   total    how many there are
//
// Anything else is an error, which does it no harm. What the boss says is logged.

#include <string.h>

#include "airssys.h"

AIRSSYS_COMPONENT("till", "1.0.0");

// 1 to 9999, or 0 if it is no such number.
static int64_t number(const char *text) {
  int64_t value = 0;
  if (strlen(text) > 4) return 0;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return 0;
    value = value * 10 + (*text - '0');
  }
  return value;
}

bool airssys_handle(const airssys_message *message) {
  const char *said = message->payload;
  int64_t coins, more = number(said);
  if (!airssys_get_number("coins", &coins)) return false;

  if (strncmp(message->from, "cafe/boss/", 10) == 0) {
    airssys_log(AIRSSYS_INFO, "%s, with %lld coins", said, (long long)coins);
    return true;
  }
  if (strcmp(said, "total") == 0) return airssys_reply("%lld coins", (long long)coins);
  if (more == 0) return airssys_fail("not coins: %s", said);
  return airssys_set_number("coins", coins + more) && airssys_reply("thank you");
}
