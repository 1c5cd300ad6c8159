// Before anything is drawn: the theme that was chosen, else the system's.
"use strict";
try {
  const chosen = localStorage.getItem("lisp_sdn.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage it is the system's.
}
