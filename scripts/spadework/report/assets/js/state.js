/* What the reader has chosen. Views ask to be told of changes; none of them knows another. */
(function (SW) {
  "use strict";

  SW.state = {
    encoder: 0,
    colour: null, // key of a column, or "gene:INDEX"
    selection: null, // Set of spots, or null: none chosen
    hover: null, // spot under the pointer
    lasso: false,
    size: 1,
    opacity: 0.9,
    image: 1,
  };

  // Which event a change of which property is.
  const EVENTS = {
    encoder: "encoder", colour: "colour", selection: "selection", hover: "hover", lasso: "lasso", size: "display",
    opacity: "display", image: "display",
  };
  const listeners = {};

  /** Be told of an event; returns how to be told no more. */
  SW.on = function (event, listener) {
    listeners[event] = [...(listeners[event] || []), listener];
    return () => {
      listeners[event] = listeners[event].filter((other) => other !== listener);
    };
  };

  SW.set = function (changes) {
    const events = new Set();
    for (const [key, value] of Object.entries(changes)) {
      if (!(key in EVENTS)) throw new Error(`no such state: ${key}`);
      if (SW.state[key] !== value) events.add(EVENTS[key]);
      SW.state[key] = value;
    }
    for (const event of events) for (const listener of listeners[event] || []) listener();
  };

  SW.encoder = (page) => page.encoders[SW.state.encoder];
})((window.SW = window.SW || {}));
