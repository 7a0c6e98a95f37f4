// Tells everybody at once: a broadcast.
//
//   announce NEWS

#include "cafe.h"

const char NAME[] = "boss";
const char DESCRIPTION[] = "Tells everybody at once";

static const char *const everybody[] = {"cafe/waiter/ada", "cafe/waiter/ben", "cafe/till/main"};

bool on_message(const char *from, const char *said, char *reply) {
  (void)from;
  const char *news = after(said, "announce ");
  if (news == NULL) {
    format(reply, "the boss knows `announce NEWS`");
    return false;
  }
  if (!broadcast(everybody, sizeof everybody / sizeof *everybody, news, reply)) return false;
  format(reply, "everybody knows: %s", news);
  return true;
}
