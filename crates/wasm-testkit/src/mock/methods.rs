/// Hands the methods of an engine to a macro: of each its [`Method`](crate::Method), its
/// name, the case of [`Call`](super::Call), what expects one, what takes one apart, and
/// what it is given and answers.
macro_rules! each_method {
    ($macro:ident) => {
        $macro! {
            PrepareComponent, "prepare_component": Prepare, prepare, expect_prepare,
                (id: ComponentId, bytes: Bytes, config: ComponentConfig) -> Preparation;
            LoadComponent, "load_component": Load, load, expect_load,
                (id: ComponentId, bytes: Bytes, config: ComponentConfig) -> ComponentHandle;
            UnloadComponent, "unload_component": Unload, unload, expect_unload,
                (handle: ComponentHandle) -> ();
            CallHandleMessage, "call_handle_message": Message, message, expect_message,
                (handle: ComponentHandle, message: ComponentMessage) -> Option<MessagePayload>;
            CallHandleCallback, "call_handle_callback": Callback, callback, expect_callback,
                (handle: ComponentHandle, message: ComponentMessage) -> ();
            RestartComponent, "restart_component": Restart, restart, expect_restart,
                (handle: ComponentHandle) -> ();
            Health, "health": Health, health, expect_health,
                (handle: ComponentHandle) -> HealthStatus;
            Metadata, "metadata": Metadata, metadata, expect_metadata,
                (handle: ComponentHandle) -> ComponentMetadata;
            Usage, "usage": Usage, usage, expect_usage,
                (handle: ComponentHandle) -> ComponentUsage;
        }
    };
}

pub(super) use each_method;
