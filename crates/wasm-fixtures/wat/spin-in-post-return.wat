;; world: runtime-host
;; include: lifecycle.wat
;; Answers a message with its payload and then never comes back from the function
;; with which the host says it has read the answer. Survives "ok".
(global $harmless (mut i32) (i32.const 0))

(func $handle-message (param $message i32) (result i32)
  (global.set $harmless (call $asks-ok (local.get $message)))
  (call $echo (local.get $message)))

(func $after-message (param $answer i32)
  (if (i32.eqz (global.get $harmless))
    (then (loop $forever (br $forever))))
  (call $empty-heap))
