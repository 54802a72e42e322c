/* The swap style `morph`: changes the element in place to what the server sent, so that focus, scroll positions,
   open dialogs, chosen files, ticked boxes and typed text survive. Children are matched by id, else by place. */
(function () {
  'use strict';

  function sameKind(a, b) {
    return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || '') === (b.id || '');
  }

  // Where the viewer stands and what the viewer opened are not the server's to say.
  const VIEWERS = new Set(['open', 'tabindex']);

  function attributes(from, to) {
    for (const { name, value } of Array.from(to.attributes)) {
      if (!VIEWERS.has(name) && from.getAttribute(name) !== value) { from.setAttribute(name, value); }
    }
    for (const { name } of Array.from(from.attributes)) {
      if (!VIEWERS.has(name) && !to.hasAttribute(name)) { from.removeAttribute(name); }
    }
  }

  function children(from, to) {
    const keyed = new Map();
    for (const child of from.children) { if (child.id) { keyed.set(child.id, child); } }
    let here = from.firstChild;
    for (const wanted of Array.from(to.childNodes)) {
      const known = wanted.id && keyed.get(wanted.id);
      if (known && known !== here) { from.insertBefore(known, here); here = known; }
      if (here && sameKind(here, wanted)) {
        const next = here.nextSibling;
        morph(here, wanted);
        here = next;
      } else {
        from.insertBefore(wanted, here);
      }
    }
    while (here) {
      const next = here.nextSibling;
      here.remove();
      here = next;
    }
  }

  function morph(from, to) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.data !== to.data) { from.data = to.data; }
      return;
    }
    if (from.hasAttribute('data-keep')) { return; }
    if (from.nodeName === 'DIALOG' && from.open) { return; }  // somebody fills it in, or reads why it was refused
    if (from.nodeName === 'TIME' && from.getAttribute('datetime') === to.getAttribute('datetime')) { return; }
    if (from.isEqualNode(to)) { return; }
    attributes(from, to);
    children(from, to);
  }

  htmx.defineExtension('morph', {
    isInlineSwap: (style) => style === 'morph',
    handleSwap: function (style, target, fragment) {
      if (style !== 'morph') { return false; }
      const wanted = fragment.querySelector ? fragment.querySelector('#' + CSS.escape(target.id)) : null;
      if (wanted) {
        morph(target, wanted);
        document.dispatchEvent(new CustomEvent('morphed', { detail: target }));
      }
      return [target];
    },
  });
})();
