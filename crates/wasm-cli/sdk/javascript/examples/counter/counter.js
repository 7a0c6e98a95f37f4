// Counts how often it was sent each word, in storage.

import { component, storage } from '../../airssys.js';

class Counter {
  handle(message) {
    const count = Number(storage.getText(message.text) ?? 0) + 1;
    storage.set(message.text, String(count));
    return String(count);
  }
}

export const componentLifecycle = component(Counter, { name: 'counter', version: '0.1.0' });
