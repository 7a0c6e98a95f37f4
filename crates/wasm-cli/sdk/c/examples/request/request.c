// Asks the echo, and knows its last answer.
//
//   last   the answer
//   TEXT   is what it asks

#include "airssys.h"

#include <stdio.h>
#include <string.h>

AIRSSYS_COMPONENT("request", "0.1.0");

static char last[256] = "nothing yet";

static bool answered(const airssys_answer *answer, void *context) {
  (void)context;
  snprintf(last, sizeof last, answer->failed ? "no answer: %s" : "%s", answer->payload);
  return true;
}

bool airssys_handle(const airssys_message *message) {
  if (strcmp(message->payload, "last") == 0) return airssys_reply("%s", last);
  if (!airssys_request("sdk/echo/main", message->payload, message->length, 1000, answered, NULL))
    return false;
  return airssys_reply("asked");
}
