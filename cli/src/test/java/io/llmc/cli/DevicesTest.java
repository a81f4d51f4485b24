// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendProvider;
import io.llmc.backend.cpu.CpuBackendProvider;
import io.llmc.cli.options.DeviceOptions.DeviceSpec;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Progress;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/// The choice of a device.
class DevicesTest {
    private static final String WHY = "no driver was found";

    /// A provider of a device that cannot be used.
    private record Broken() implements BackendProvider {
        @Override
        public List<Device> devices() {
            return List.of(new Device("cuda:0", WHY, false));
        }

        @Override
        @MustBeClosed
        public Backend open(String device, BackendOptions options) {
            throw new AssertionError("opened " + device);
        }
    }

    private final List<String> notes = new ArrayList<>();
    private final Devices devices = new Devices(List.of(new Broken(), new CpuBackendProvider()));
    private final Progress progress =
            new Progress() {
                @Override
                public void begin(String what, long steps) {}

                @Override
                public void advance(long steps, String doing) {}

                @Override
                public void note(String line) {
                    notes.add(line);
                }

                @Override
                public void end() {}
            };

    private static DeviceSpec spec(String device) {
        return new DeviceSpec(device, BackendOptions.defaults());
    }

    @Test
    void theCpuIsTakenWhereNothingElseWorksAndOneLineSaysWhy() {
        try (Backend backend = devices.open(spec("auto"), progress)) {
            assertThat(backend.device()).isEqualTo("cpu");
        }
        assertThat(notes).containsExactly("running on the CPU: " + WHY);
    }

    @Test
    void whoNamesTheCpuHearsNothing() {
        try (Backend backend = devices.open(spec("cpu"), progress)) {
            assertThat(backend.device()).isEqualTo("cpu");
        }
        assertThat(notes).isEmpty();
    }

    @Test
    void aDeviceThatCannotBeUsedIsRefusedWithTheReason() {
        for (String name : new String[] {"cuda:0", "cuda:1"}) {
            assertThatThrownBy(() -> devices.open(spec(name), progress).close())
                    .isInstanceOf(UserException.class)
                    .satisfies(e ->
                            assertThat(e.getMessage() + ((UserException) e).hint())
                                    .contains("--device " + name, WHY));
        }
    }
}
