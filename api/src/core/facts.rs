//! How lists and maps merge that are no single kind's: those of pods and their templates.
//!
//! Never says anything of types or descriptions: those come with the Rust types.

/// One line a field, read by `crate::facts`; the prefix of the definitions stands first.
pub const FACTS: (&str, &str) = (
    "io.k8s.api.core.v1",
    "
    Capabilities.add list=atomic
    Capabilities.drop list=atomic
    CephFSVolumeSource.monitors list=atomic
    ConfigMapKeySelector map=atomic
    ConfigMapProjection.items list=atomic
    ConfigMapVolumeSource.items list=atomic
    Container.args list=atomic
    Container.command list=atomic
    Container.env list=map:name patch=merge merge-key=name
    Container.envFrom list=atomic
    Container.ports list=map:containerPort,protocol patch=merge merge-key=containerPort
    Container.resizePolicy list=atomic
    Container.restartPolicyRules list=atomic
    Container.volumeDevices list=map:devicePath patch=merge merge-key=devicePath
    Container.volumeMounts list=map:mountPath patch=merge merge-key=mountPath
    ContainerRestartRuleOnExitCodes.values list=set
    ContainerStatus.allocatedResourcesStatus list=map:name patch=merge merge-key=name
    ContainerStatus.volumeMounts list=map:mountPath patch=merge merge-key=mountPath
    DownwardAPIProjection.items list=atomic
    DownwardAPIVolumeSource.items list=atomic
    EphemeralContainer.args list=atomic
    EphemeralContainer.command list=atomic
    EphemeralContainer.env list=map:name patch=merge merge-key=name
    EphemeralContainer.envFrom list=atomic
    EphemeralContainer.ports list=map:containerPort,protocol patch=merge merge-key=containerPort
    EphemeralContainer.resizePolicy list=atomic
    EphemeralContainer.restartPolicyRules list=atomic
    EphemeralContainer.volumeDevices list=map:devicePath patch=merge merge-key=devicePath
    EphemeralContainer.volumeMounts list=map:mountPath patch=merge merge-key=mountPath
    ExecAction.command list=atomic
    FCVolumeSource.targetWWNs list=atomic
    FCVolumeSource.wwids list=atomic
    FileKeySelector map=atomic
    HTTPGetAction.httpHeaders list=atomic
    HostAlias.hostnames list=atomic
    ISCSIVolumeSource.portals list=atomic
    LinuxContainerUser.supplementalGroups list=atomic
    LocalObjectReference map=atomic
    NodeAffinity.preferredDuringSchedulingIgnoredDuringExecution list=atomic
    NodeAllocatableResourceClaimStatus.containers list=set
    NodeSelector map=atomic
    NodeSelector.nodeSelectorTerms list=atomic
    NodeSelectorRequirement.values list=atomic
    NodeSelectorTerm map=atomic
    NodeSelectorTerm.matchExpressions list=atomic
    NodeSelectorTerm.matchFields list=atomic
    ObjectFieldSelector map=atomic
    ObjectReference map=atomic
    PersistentVolumeClaimSpec.accessModes list=atomic
    PodAffinity.preferredDuringSchedulingIgnoredDuringExecution list=atomic
    PodAffinity.requiredDuringSchedulingIgnoredDuringExecution list=atomic
    PodAffinityTerm.matchLabelKeys list=atomic
    PodAffinityTerm.mismatchLabelKeys list=atomic
    PodAffinityTerm.namespaces list=atomic
    PodAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution list=atomic
    PodAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution list=atomic
    PodDNSConfig.nameservers list=atomic
    PodDNSConfig.options list=atomic
    PodDNSConfig.searches list=atomic
    PodExtendedResourceClaimStatus.requestMappings list=atomic
    PodSecurityContext.supplementalGroups list=atomic
    PodSecurityContext.sysctls list=atomic
    PodSpec.containers list=map:name patch=merge merge-key=name
    PodSpec.ephemeralContainers list=map:name patch=merge merge-key=name
    PodSpec.hostAliases list=map:ip patch=merge merge-key=ip
    PodSpec.imagePullSecrets list=map:name patch=merge merge-key=name
    PodSpec.initContainers list=map:name patch=merge merge-key=name
    PodSpec.nodeSelector map=atomic
    PodSpec.readinessGates list=atomic
    PodSpec.resourceClaims list=map:name patch=merge,retainKeys merge-key=name
    PodSpec.schedulingGates list=map:name patch=merge merge-key=name
    PodSpec.tolerations list=atomic
    PodSpec.topologySpreadConstraints list=map:topologyKey,whenUnsatisfiable patch=merge merge-key=topologyKey
    PodSpec.volumes list=map:name patch=merge,retainKeys merge-key=name
    PodStatus.conditions list=map:type patch=merge merge-key=type
    PodStatus.containerStatuses list=atomic
    PodStatus.ephemeralContainerStatuses list=atomic
    PodStatus.hostIPs list=atomic patch=merge merge-key=ip
    PodStatus.initContainerStatuses list=atomic
    PodStatus.nodeAllocatableResourceClaimStatuses list=atomic
    PodStatus.podIPs list=map:ip patch=merge merge-key=ip
    PodStatus.resourceClaimStatuses list=map:name patch=merge,retainKeys merge-key=name
    ProjectedVolumeSource.sources list=atomic
    RBDVolumeSource.monitors list=atomic
    ResourceFieldSelector map=atomic
    ResourceRequirements.claims list=map:name
    ResourceStatus.resources list=map:resourceID
    SecretKeySelector map=atomic
    SecretProjection.items list=atomic
    SecretVolumeSource.items list=atomic
    TopologySpreadConstraint.matchLabelKeys list=atomic
    TypedLocalObjectReference map=atomic
    ",
);
