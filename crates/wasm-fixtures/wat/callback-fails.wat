;; world: runtime-host
;; include: lifecycle.wat
;; Wants no callbacks: `handle-callback` answers runtime-error.
(data (i32.const 0x100) "unwanted")

(func $handle-callback (param $message i32) (result i32)
  (call $runtime-error (i32.const 0x100) (i32.const 8)))
