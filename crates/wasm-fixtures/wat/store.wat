;; world: runtime-host
;; include: lifecycle.wat
;; Does with its storage what it is told: `set KEY VALUE`, `get KEY`, `delete KEY`,
;; `exists KEY`, `keys PREFIX` (all keys without a prefix; one on a line), `usage`
;; (used bytes, quota in bytes, number of keys). Commands go by their first letter;
;; everything else asks for the usage.
(import "airssys:core/storage@1.0.0" "get"
  (func $get (param $key i32) (param $key-length i32) (param $result i32)))
(import "airssys:core/storage@1.0.0" "set"
  (func $set
    (param $key i32) (param $key-length i32)
    (param $value i32) (param $value-length i32)
    (param $result i32)))
(import "airssys:core/storage@1.0.0" "delete"
  (func $delete (param $key i32) (param $key-length i32) (param $result i32)))
(import "airssys:core/storage@1.0.0" "exists"
  (func $exists (param $key i32) (param $key-length i32) (param $result i32)))
(import "airssys:core/storage@1.0.0" "list-keys"
  (func $list-keys
    (param $has-prefix i32) (param $prefix i32) (param $prefix-length i32)
    (param $result i32)))
(import "airssys:core/storage@1.0.0" "usage" (func $usage (param $result i32)))

(global $stateful i32 (i32.const 1))

(data (i32.const 0x100) "true")
(data (i32.const 0x108) "false")

(func $handle-message (param $message i32) (result i32)
  (local $command i32)
  ;; The command to 0x80, the key to 0x88, the value to 0x98.
  (call $cut (i32.const 0x80) (call $payload (local.get $message)) (i32.const 0x20))
  (call $cut (i32.const 0x88) (call $get-text (i32.const 0x98)) (i32.const 0x20))
  (if (i32.load (i32.const 0x84))
    (then (local.set $command (i32.load8_u (i32.load (i32.const 0x80))))))
  (if (i32.eq (local.get $command) (i32.const 0x73)) ;; s
    (then (return (call $answer-set))))
  (if (i32.eq (local.get $command) (i32.const 0x67)) ;; g
    (then (return (call $answer-get))))
  (if (i32.eq (local.get $command) (i32.const 0x64)) ;; d
    (then (return (call $answer-delete))))
  (if (i32.eq (local.get $command) (i32.const 0x65)) ;; e
    (then (return (call $answer-exists))))
  (if (i32.eq (local.get $command) (i32.const 0x6b)) ;; k
    (then (return (call $answer-keys))))
  (call $answer-usage))

(func $answer-set (result i32)
  (call $set
    (call $get-text (i32.const 0x88))
    (call $get-text (i32.const 0x98))
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (call $none))

(func $answer-get (result i32)
  (call $get (call $get-text (i32.const 0x88)) (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (if (i32.load8_u (i32.const 0x44))
    (then (return (call $some (call $get-text (i32.const 0x48))))))
  (call $none))

(func $answer-delete (result i32)
  (call $delete (call $get-text (i32.const 0x88)) (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (call $none))

(func $answer-exists (result i32)
  (call $exists (call $get-text (i32.const 0x88)) (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (if (i32.load8_u (i32.const 0x44))
    (then (return (call $some (i32.const 0x100) (i32.const 4)))))
  (call $some (i32.const 0x108) (i32.const 5)))

(func $answer-keys (result i32)
  (local $key i32) (local $end i32)
  (call $list-keys
    (i32.ne (i32.load (i32.const 0x8c)) (i32.const 0))
    (call $get-text (i32.const 0x88))
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $storage-failed))))
  (local.set $key (i32.load (i32.const 0x44)))
  (local.set $end
    (i32.add (local.get $key) (i32.mul (i32.load (i32.const 0x48)) (i32.const 8))))
  (call $begin-text)
  (block $done
    (loop $next
      (br_if $done (i32.eq (local.get $key) (local.get $end)))
      (call $append (call $get-text (local.get $key)))
      (call $append-byte (i32.const 0x0a))
      (local.set $key (i32.add (local.get $key) (i32.const 8)))
      (br $next)))
  (call $some (call $end-text)))

;; The record is aligned to 8 bytes, so it is at 0x48, and so is the case of an
;; error.
(func $answer-usage (result i32)
  (call $usage (i32.const 0x40))
  (if (call $failed)
    (then
      (i32.store8 (i32.const 0x44) (i32.load8_u (i32.const 0x48)))
      (return (call $storage-failed))))
  (call $begin-text)
  (call $append-number (i64.load (i32.const 0x48)))
  (call $append-byte (i32.const 0x20))
  (call $append-number (i64.load (i32.const 0x50)))
  (call $append-byte (i32.const 0x20))
  (call $append-number (i64.load (i32.const 0x58)))
  (call $some (call $end-text)))
