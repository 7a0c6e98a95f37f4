// Answers with what it was sent.

import { component } from '../../airssys.js';

class Echo {
  handle(message) {
    return message.payload;
  }
}

export const componentLifecycle = component(Echo, { name: 'echo', version: '0.1.0' });
