;; world: runtime-host
;; include: lifecycle.wat
;; Never comes back from its start function, which runs while the host instantiates
;; it, before any export can be called.
(start $spin)

(func $spin
  (loop $forever (br $forever)))
