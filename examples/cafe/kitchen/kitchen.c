// Cooks what it is asked for, and counts the dishes twice: in memory and in storage.
// Two dishes end it.
//
//   DISH     `fresh DISH`
//   fondue   sets fire to the kitchen: a trap
//   stew     has to simmer, for ever: all its fuel is used up
//   status   dishes since the stove was lit, and ever

#include <string.h>

#include "cafe.h"

const char NAME[] = "kitchen";
const char DESCRIPTION[] = "Cooks, and sometimes burns down";

static unsigned since_lit; // starts over with each instance

bool on_message(const char *from, const char *said, char *reply) {
  (void)from;
  unsigned ever;
  if (!load("dishes", &ever, reply)) return false;

  if (strcmp(said, "status") == 0) {
    format(reply, "dishes since the stove was lit: %u, ever: %u", since_lit, ever);
    return true;
  }
  if (strcmp(said, "fondue") == 0) __builtin_trap();
  if (strcmp(said, "stew") == 0)
    for (volatile unsigned hours = 0;; hours++) continue;

  if (!store("dishes", ever + 1, reply)) return false;
  since_lit++;
  format(reply, "fresh %s", said);
  return true;
}
