;; world: runtime-host
;; include: lifecycle.wat
;; Keeps something for whoever comes after it: `shutdown` stores `bye` under the key
;; "ended", answers shutdown-failed with the name of the error's case if that is refused,
;; and ok otherwise. Any message is answered with itself.
(import "airssys:core/storage@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))

(data (i32.const 0x100) "ended")
(data (i32.const 0x108) "bye")

(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $shutdown (result i32)
  (call $set
    (i32.const 0x100) (i32.const 5)
    (i32.const 0x108) (i32.const 3)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 3) (call $storage-case)))))
  (call $ok))
