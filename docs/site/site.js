// What assistive programs need of elements that zensical's own script makes: a table that scrolls can be reached by the keyboard, and the
// buttons of each block of code are told apart. Both come at different times, so they are named when they are there.
"use strict";
(() => {
  const name = () => {
    document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach((each, number) => {
      each.tabIndex = 0;
      each.setAttribute("role", "region");
      each.setAttribute("aria-label", `Table ${number + 1}, scrolls sideways`);
    });
    document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((each) => {
      const blocks = [...document.querySelectorAll(".md-code__nav")];
      each.setAttribute("aria-label", `Code ${blocks.indexOf(each) + 1}`);
    });
  };
  new MutationObserver(name).observe(document.documentElement, { subtree: true, childList: true });
  name();
})();
