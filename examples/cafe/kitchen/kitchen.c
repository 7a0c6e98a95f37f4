// Cooks what it is asked for, and counts the dishes twice: in memory and in storage.
// Two dishes end it.
//
//   DISH     `fresh DISH`
//   fondue   sets fire to the kitchen: a trap
//   stew     has to simmer, for ever: all its fuel is used up
//   status   dishes since the stove was lit, and ever

#include <string.h>

#include "airssys.h"

AIRSSYS_COMPONENT("kitchen", "1.0.0");

static unsigned since_lit; // starts over with each instance

bool airssys_handle(const airssys_message *message) {
  const char *dish = message->payload;
  int64_t ever;
  if (!airssys_get_number("dishes", &ever)) return false;

  if (strcmp(dish, "status") == 0)
    return airssys_reply("dishes since the stove was lit: %u, ever: %lld", since_lit,
                         (long long)ever);
  if (strcmp(dish, "fondue") == 0) __builtin_trap();
  if (strcmp(dish, "stew") == 0)
    for (volatile unsigned hours = 0;; hours++) continue;

  if (!airssys_set_number("dishes", ever + 1)) return false;
  since_lit++;
  return airssys_reply("fresh %s", dish);
}
