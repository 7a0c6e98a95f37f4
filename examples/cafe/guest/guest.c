// Tries what it may and what it may not: its Component.toml lets it send to the till
// and nothing else.
//
//   tip NUMBER   a message to the till
//   peek         a request to the kitchen, which the host refuses
//   steal        something from storage, which the host refuses, too

#include <string.h>

#include "cafe.h"

const char NAME[] = "guest";
const char DESCRIPTION[] = "Tries what it may and what it may not";

bool on_message(const char *from, const char *said, char *reply) {
  (void)from;
  const char *coins = after(said, "tip ");
  char id[TEXT], why[TEXT];
  unsigned loot;
  if (coins != NULL) {
    if (send("cafe/till/main", coins, why)) {
      format(reply, "%s for you", coins);
      return true;
    }
  } else if (strcmp(said, "peek") == 0) {
    if (request("cafe/kitchen/main", "status", 1000, id, why)) {
      format(reply, "asked");
      return true;
    }
  } else if (strcmp(said, "steal") == 0) {
    if (load("coins", &loot, why)) {
      format(reply, "%u coins", loot);
      return true;
    }
  } else {
    format(reply, "a guest knows `tip NUMBER`, `peek` and `steal`");
    return false;
  }
  format(reply, "refused: %s", why);
  return true;
}
