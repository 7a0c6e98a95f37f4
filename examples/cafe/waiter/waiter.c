// Takes orders to the kitchen, and money to the till: a request and its answer, and a
// message that nobody answers.
//
//   order DISH   asks the kitchen for it; the answer comes later, to `served`
//   status       the latest news
//
// What the boss says ends the day.

#include <stdlib.h>
#include <string.h>

#include "airssys.h"

AIRSSYS_COMPONENT("waiter", "1.0.0");

enum { PATIENCE_MS = 5000 };

// What is kept from one message to the next; NULL at first.
static char *news, *closed;

static void keep(char **place, const char *text) {
  free(*place);
  *place = strdup(text);
}

static bool told(const char *text) {
  keep(&news, text);
  airssys_log(AIRSSYS_INFO, "%s", text);
  return true;
}

// `context` is the dish.
static bool served(const airssys_answer *answer, void *context) {
  const char *dish = airssys_text("%s", (char *)context);
  free(context);
  if (answer->failed) return told(airssys_text("no %s: %s", dish, answer->payload));
  if (!airssys_send("cafe/till/main", "4", 1)) return false;
  return told(airssys_text("%s is served", answer->payload));
}

static bool order(const char *dish) {
  if (closed != NULL) return airssys_reply("no more %s: %s", dish, closed);
  char *ordered = strdup(dish);
  if (!airssys_request("cafe/kitchen/main", dish, strlen(dish), PATIENCE_MS, served, ordered)) {
    free(ordered);
    return airssys_reply("no %s: %s", dish, airssys_error());
  }
  return airssys_reply("%s is ordered", dish);
}

bool airssys_handle(const airssys_message *message) {
  static const char order_of[] = "order ";
  const char *said = message->payload;
  if (strncmp(message->from, "cafe/boss/", 10) == 0) {
    keep(&closed, said);
    return told(airssys_text("heard: %s", said));
  }
  if (strncmp(said, order_of, sizeof order_of - 1) == 0)
    return order(said + sizeof order_of - 1);
  if (strcmp(said, "status") == 0)
    return airssys_reply("%s", news == NULL ? "nothing to do" : news);
  return airssys_fail("a waiter knows `order DISH` and `status`");
}
