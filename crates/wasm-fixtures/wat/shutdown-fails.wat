;; world: runtime-host
;; include: lifecycle.wat
;; Does not want to stop: `shutdown` answers shutdown-failed.
(data (i32.const 0x100) "still busy")

(func $shutdown (result i32)
  (call $error (i32.const 3) (i32.const 0x100) (i32.const 10)))
