;; A component without exports: the least that loads.
(component)
