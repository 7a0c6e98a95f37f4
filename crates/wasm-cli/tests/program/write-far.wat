;; `write` makes a file in the first folder that it is granted, and writes one byte of it far
;; from its beginning. It answers 0, or the number of the error's case plus one.
(component
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (export "descriptor" (type $d (sub resource)))
    (type $ec' (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock"
      "quota" "exist" "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted"
      "invalid" "io" "is-directory" "loop" "too-many-links" "message-size" "name-too-long"
      "no-device" "no-entry" "no-lock" "insufficient-memory" "insufficient-space"
      "not-directory" "not-empty" "not-recoverable" "unsupported" "no-tty" "no-such-device"
      "overflow" "not-permitted" "pipe" "read-only" "invalid-seek" "text-file-busy"
      "cross-device"))
    (export "error-code" (type $ec (eq $ec')))
    (type $pf' (flags "symlink-follow"))
    (export "path-flags" (type $pf (eq $pf')))
    (type $of' (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $of (eq $of')))
    (type $df' (flags "read" "write" "file-integrity-sync" "data-integrity-sync"
      "requested-write-sync" "mutate-directory"))
    (export "descriptor-flags" (type $df (eq $df')))
    (export "[method]descriptor.open-at" (func (param "self" (borrow $d))
      (param "path-flags" $pf) (param "path" string) (param "open-flags" $of)
      (param "flags" $df) (result (result (own $d) (error $ec)))))
    (export "[method]descriptor.write" (func (param "self" (borrow $d))
      (param "buffer" (list u8)) (param "offset" u64) (result (result u64 (error $ec)))))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $d'))
    (export "descriptor" (type $d (eq $d')))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))

  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 0) "far")
    (global $free (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $free)
      (global.set $free (i32.and (i32.add (global.get $free) (i32.add (local.get 3) (i32.const 7)))
        (i32.const -8)))))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $m))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $get-directories
    (canon lower (func $preopens "get-directories") (memory $m) (realloc $realloc)))
  (core func $open-at
    (canon lower (func $files "[method]descriptor.open-at") (memory $m) (realloc $realloc)))
  (core func $write-at (canon lower (func $files "[method]descriptor.write") (memory $m)))

  (core module $writer
    (import "memory" "memory" (memory 1))
    (import "host" "get-directories" (func $get-directories (param i32)))
    (import "host" "open-at" (func $open-at (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "write" (func $write-at (param i32 i32 i32 i64 i32)))
    (func (export "write") (result i32)
      (call $get-directories (i32.const 0x40))
      ;; "far", to be created and written
      (call $open-at (i32.load (i32.load (i32.const 0x40)))
        (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 1) (i32.const 2) (i32.const 0x40))
      (if (i32.load8_u (i32.const 0x40))
        (then (return (i32.add (i32.load8_u (i32.const 0x44)) (i32.const 1)))))
      (call $write-at (i32.load (i32.const 0x44))
        (i32.const 0) (i32.const 1) (i64.const 100_000_000) (i32.const 0x40))
      (if (i32.load8_u (i32.const 0x40))
        (then (return (i32.add (i32.load8_u (i32.const 0x48)) (i32.const 1)))))
      (i32.const 0)))
  (core instance $writer (instantiate $writer
    (with "memory" (instance $memory))
    (with "host" (instance
      (export "get-directories" (func $get-directories))
      (export "open-at" (func $open-at))
      (export "write" (func $write-at))))))
  (func (export "write") (result u32) (canon lift (core func $writer "write"))))
