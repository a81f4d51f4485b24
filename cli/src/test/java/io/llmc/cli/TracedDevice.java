// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendProvider;
import io.llmc.backend.Op;
import io.llmc.backend.cpu.CpuBackend;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;

/// A CPU that keeps the frames of the first operation of one kind. It is there only while a test
/// asks for it.
public final class TracedDevice implements BackendProvider {
    static final String NAME = "traced";

    private static Trace asked;

    /// @param op whose frames are kept
    /// @param from counted from this method on
    static Trace during(Class<? extends Op> op, Class<?> from, String method) {
        asked = new Trace(op, from.getName(), method);
        return asked;
    }

    /// From the asked method to the device, both included; empty before the operation.
    static final class Trace implements AutoCloseable {
        private final Class<? extends Op> op;
        private final String type;
        private final String method;
        private List<String> frames = List.of();

        private Trace(Class<? extends Op> op, String type, String method) {
            this.op = op;
            this.type = type;
            this.method = method;
        }

        List<String> frames() {
            return frames;
        }

        private void see(Op now) {
            if (!frames.isEmpty() || !op.isInstance(now)) {
                return;
            }
            List<String> all =
                    new ArrayList<>(
                            StackWalker.getInstance()
                                    .walk(stack ->
                                            stack.map(f ->
                                                            f.getClassName()
                                                                    + "."
                                                                    + f.getMethodName())
                                                    .filter(f -> !isOurs(f))
                                                    .toList()));
            all.addFirst("Backend.run"); // in the place of this class's own
            frames = List.copyOf(all.subList(0, all.indexOf(type + "." + method) + 1));
        }

        private static boolean isOurs(String name) {
            return name.startsWith(TracedDevice.class.getName()) || name.contains("$Proxy");
        }

        @Override
        public void close() {
            asked = null;
        }
    }

    @Override
    public List<Device> devices() {
        return asked == null ? List.of() : List.of(new Device(NAME, "for a test", true));
    }

    @Override
    public Backend open(String device, BackendOptions options) {
        CpuBackend cpu = new CpuBackend(options);
        Trace trace = asked;
        return (Backend)
                Proxy.newProxyInstance(
                        Backend.class.getClassLoader(),
                        new Class<?>[] {Backend.class},
                        (_, called, arguments) -> call(cpu, trace, called, arguments));
    }

    private static Object call(CpuBackend cpu, Trace trace, Method called, Object[] arguments)
            throws Throwable {
        if (called.getName().equals("run")) {
            trace.see((Op) arguments[0]);
        }
        try {
            return called.invoke(cpu, arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }
}
