// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendGroup;
import io.llmc.backend.BackendProvider;
import io.llmc.backend.BackendProvider.Device;
import io.llmc.cli.options.DeviceOptions.DeviceSpec;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Progress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// Every device that a provider knows, and the choice of one.
record Devices(List<BackendProvider> providers) {
    private static final String AUTO = "auto";
    private static final String CPU = "cpu";

    /// A device and who opens it.
    private record Offer(BackendProvider provider, Device device) {
        @MustBeClosed
        Backend open(DeviceSpec spec) {
            return provider.open(device.name(), spec.options());
        }
    }

    List<Device> all() {
        return offers().map(Offer::device).toList();
    }

    /// @param progress hears why `auto` is the CPU
    /// @throws UserException where there is no such device, or it cannot be used; says why
    @MustBeClosed
    Backend open(DeviceSpec spec, Progress progress) {
        if (spec.device().equals(AUTO)) {
            return best(progress).open(spec);
        }
        List<Offer> offers = Arrays.stream(spec.device().split(",", -1)).map(this::named).toList();
        if (offers.size() == 1) {
            return offers.getFirst().open(spec);
        }
        requireGroup(spec, offers);
        return group(spec, offers);
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the group closes its members
    private static Backend group(DeviceSpec spec, List<Offer> offers) {
        List<Backend> members = new ArrayList<>();
        try {
            offers.forEach(o -> members.add(o.open(spec)));
        } catch (RuntimeException e) {
            members.forEach(Backend::close);
            throw e;
        }
        return new BackendGroup(members);
    }

    /// Devices can share the work where they hand tensors to each other: those of one provider.
    private static void requireGroup(DeviceSpec spec, List<Offer> offers) {
        boolean one = offers.stream().map(Offer::provider).distinct().count() == 1;
        boolean twice = offers.stream().map(Offer::device).distinct().count() < offers.size();
        if (!one || twice || offers.getFirst().device.name().equals(CPU)) {
            throw new UserException(
                    "--device " + spec.device() + ": these cannot share the work",
                    "name several GPUs, each once, as cuda:0,cuda:1");
        }
    }

    private Stream<Offer> offers() {
        return providers.stream().flatMap(p -> p.devices().stream().map(d -> new Offer(p, d)));
    }

    /// The first usable device that is not the CPU, or the CPU.
    private Offer best(Progress progress) {
        List<Offer> others = offers().filter(o -> !o.device.name().equals(CPU)).toList();
        Optional<Offer> fast = others.stream().filter(o -> o.device.usable()).findFirst();
        if (fast.isEmpty()) {
            others.forEach(o -> progress.note("running on the CPU: " + o.device.description()));
        }
        return fast.orElseGet(() -> named(CPU));
    }

    private Offer named(String name) {
        Offer offer =
                offers().filter(o -> o.device.name().equals(name))
                        .findFirst()
                        .orElseThrow(() ->
                                new UserException(
                                        "--device " + name + ": no such device",
                                        "there is: " + names() + reasons()));
        if (!offer.device.usable()) {
            throw new UserException(
                    "--device %s: cannot be used: %s".formatted(name, offer.device.description()),
                    "llmc devices lists those that can");
        }
        return offer;
    }

    private String reasons() {
        return offers().filter(o -> !o.device.usable())
                .map(o -> "; not %s: %s".formatted(o.device.name(), o.device.description()))
                .collect(Collectors.joining());
    }

    private String names() {
        return offers().filter(o -> o.device.usable())
                .map(o -> o.device.name())
                .collect(Collectors.joining(", "));
    }
}
