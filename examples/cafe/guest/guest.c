// Tries what it may and what it may not: its Component.toml lets it send to the till
// and nothing else.
//
//   tip NUMBER   a message to the till
//   peek         a request to the kitchen, which the host refuses
//   steal        something from storage, which the host refuses, too

#include <string.h>

#include "airssys.h"

AIRSSYS_COMPONENT("guest", "1.0.0");

static bool answered(const airssys_answer *answer, void *context) {
  (void)answer, (void)context;
  return true;
}

static bool refused(void) { return airssys_reply("refused: %s", airssys_error()); }

bool airssys_handle(const airssys_message *message) {
  static const char tip[] = "tip ", status[] = "status";
  const char *said = message->payload;
  if (strncmp(said, tip, sizeof tip - 1) == 0) {
    const char *coins = said + sizeof tip - 1;
    if (!airssys_send("cafe/till/main", coins, strlen(coins))) return refused();
    return airssys_reply("%s for you", coins);
  }
  if (strcmp(said, "peek") == 0) {
    if (!airssys_request("cafe/kitchen/main", status, strlen(status), 1000, answered, NULL))
      return refused();
    return airssys_reply("asked");
  }
  if (strcmp(said, "steal") == 0) {
    int64_t loot;
    if (!airssys_get_number("coins", &loot)) return refused();
    return airssys_reply("%lld coins", (long long)loot);
  }
  return airssys_fail("a guest knows `tip NUMBER`, `peek` and `steal`");
}
