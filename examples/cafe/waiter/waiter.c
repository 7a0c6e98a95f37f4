// Takes orders to the kitchen, and money to the till: a request and its callback,
// and a message that nobody answers.
//
//   order DISH   asks the kitchen for it; the answer comes later, to on_callback
//   status       the latest news
//
// What the boss says ends the day.

#include <string.h>

#include "cafe.h"

const char NAME[] = "waiter";
const char DESCRIPTION[] = "Takes orders to the kitchen and money to the till";

enum { ORDERS = 8, PATIENCE_MS = 5000 };

// Open requests; an empty id is a free place.
static struct {
  char id[TEXT], dish[TEXT];
} orders[ORDERS];
static char news[TEXT] = "nothing to do";
static char closed[TEXT];

static void order(const char *dish, char *reply) {
  char why[TEXT];
  if (closed[0] != '\0') {
    format(reply, "no more %s: %s", dish, closed);
    return;
  }
  for (int i = 0; i < ORDERS; i++) {
    if (orders[i].id[0] != '\0') continue;
    if (request("cafe/kitchen/main", dish, PATIENCE_MS, orders[i].id, why)) {
      format(orders[i].dish, "%s", dish);
      format(reply, "%s is ordered", dish);
    } else {
      format(reply, "no %s: %s", dish, why);
    }
    return;
  }
  format(reply, "too many orders, %s has to wait", dish);
}

bool on_message(const char *from, const char *said, char *reply) {
  const char *dish = after(said, "order ");
  if (after(from, "cafe/boss/") != NULL) {
    format(closed, "%s", said);
    format(news, "heard: %s", said);
    note(news);
  } else if (dish != NULL) {
    order(dish, reply);
  } else if (strcmp(said, "status") == 0) {
    format(reply, "%s", news);
  } else {
    format(reply, "a waiter knows `order DISH` and `status`");
    return false;
  }
  return true;
}

void on_callback(const char *id, bool failed, const char *answer) {
  char why[TEXT];
  for (int i = 0; i < ORDERS; i++) {
    if (orders[i].id[0] == '\0' || strcmp(orders[i].id, id) != 0) continue;
    orders[i].id[0] = '\0';
    if (failed) {
      format(news, "no %s: %s", orders[i].dish, answer);
    } else {
      format(news, "%s is served", answer);
      if (!send("cafe/till/main", "4", why)) note(why);
    }
    note(news);
  }
}
