;; world: runtime-host
;; include: lifecycle.wat
;; Hoards where a limit on memories does not look: grows a table by 1,024 elements
;; at a time until it is denied, then traps. Echoes "ok".
(table $hoard 1 funcref)

(func $handle-message (param $message i32) (result i32)
  (if (call $asks-ok (local.get $message))
    (then (return (call $echo (local.get $message)))))
  (loop $more
    (br_if $more
      (i32.ne
        (table.grow $hoard (ref.null func) (i32.const 1024))
        (i32.const -1))))
  (unreachable))
