// Keeps the coins, in storage.
//
//   NUMBER   puts in so many
//   total    how many there are
//
// Anything else is an error, which does it no harm. What the boss says is logged.

#include <string.h>

#include "cafe.h"

const char NAME[] = "till";
const char DESCRIPTION[] = "Keeps the coins";

// 1 to 9999, or 0 if it is no such number.
static unsigned number(const char *text) {
  unsigned value = 0;
  if (strlen(text) > 4) return 0;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return 0;
    value = value * 10 + (unsigned)(*text - '0');
  }
  return value;
}

bool on_message(const char *from, const char *said, char *reply) {
  unsigned coins, more = number(said);
  if (!load("coins", &coins, reply)) return false;

  if (after(from, "cafe/boss/") != NULL) {
    char line[TEXT];
    format(line, "%s, with %u coins", said, coins);
    note(line);
  } else if (strcmp(said, "total") == 0) {
    format(reply, "%u coins", coins);
  } else if (more > 0) {
    if (!store("coins", coins + more, reply)) return false;
    format(reply, "thank you");
  } else {
    format(reply, "not coins: %s", said);
    return false;
  }
  return true;
}
