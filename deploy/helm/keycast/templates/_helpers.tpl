{{- define "keycast.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "keycast.labels" -}}
app.kubernetes.io/name: keycast
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of each container. */}}
{{- define "keycast.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Of each pod. */}}
{{- define "keycast.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 40
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "keycast.apart" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "keycast.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Settings of web, workers and jobs, which have no key-encryption key: they ask the signer beside them. */}}
{{- define "keycast.settings" -}}
- {name: KEYCAST_ENVIRONMENT, value: production}
- {name: KEYCAST_EMBEDDED, value: "0"}
- {name: KEYCAST_DATA_DIR, value: /tmp}
- {name: SECRET_KEY_FILE, value: /run/secrets/keycast/secret_key}
- {name: KEYCAST_FIELD_KEY_FILE, value: /run/secrets/keycast/field_key}
- {name: EMAIL_URL_FILE, value: /run/secrets/keycast/email_url}
- {name: DATABASE_URL_FILE, value: /run/secrets/keycast/database_url}
- {name: REDIS_URL_FILE, value: /run/secrets/keycast/redis_url}
- {name: KEYCAST_AUDIT_CHECKPOINT_KEY_FILE, value: /run/secrets/keycast/checkpoint_key}
- {name: KEYCAST_RESTORE_JOURNAL, value: ""}
- {name: KEYCAST_SIGNER_SOCKET, value: /run/keycast-signer/own/signer.sock}
- {name: KEYCAST_PLATFORM_HOSTS, value: {{ .Values.platformHost | quote }}}
- {name: KEYCAST_TRUSTED_PROXIES, value: {{ .Values.trustedProxies | quote }}}
{{- include "keycast.shared" . }}
{{- end }}

{{/* What the signer needs to know as well: HSMs, and the way to the co-signer. */}}
{{- define "keycast.shared" }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- if .Values.cosigner.enabled }}
- {name: KEYCAST_COSIGNER_ADDRESS, value: "{{ .Release.Name }}-cosigner:8443"}
- {name: KEYCAST_COSIGNER_TLS_CA, value: /run/secrets/cosigner-tls/ca.pem}
- {name: KEYCAST_COSIGNER_TLS_CERT, value: /run/secrets/cosigner-tls/client.pem}
- {name: KEYCAST_COSIGNER_TLS_KEY, value: /run/secrets/cosigner-tls/client.key}
{{- end }}
{{- end }}

{{- define "keycast.mounts" -}}
- {name: servers, mountPath: /run/secrets/keycast, readOnly: true}
- {name: socket, mountPath: /run/keycast-signer, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.cosigner.enabled }}
- {name: cosigner-tls, mountPath: /run/secrets/cosigner-tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "keycast.volumes" -}}
- {name: servers, secret: {secretName: {{ .Values.secrets.servers }}, defaultMode: 0440}}
- {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
- {name: socket, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: kek, secret: {secretName: {{ .Values.secrets.signer }}, defaultMode: 0440}}
- {name: kek-owned, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: signer-tmp, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
{{- if .Values.cosigner.enabled }}
- {name: cosigner-tls, secret: {secretName: {{ .Values.cosigner.tlsClient }}, defaultMode: 0440}}
{{- end }}
{{- end }}

{{/* The signer beside each process that signs: a user of its own, which alone has the key-encryption key. It starts first and
     ends last (a sidecar of Kubernetes 1.29). A signer takes neither a key that its group may read, which is how a Secret is
     mounted, nor a socket in a folder that others may write, which is what an emptyDir is: so one step before it makes both. */}}
{{- define "keycast.signer" -}}
- name: own-key
  image: {{ include "keycast.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c, "install -m 0400 /run/secrets/kek/kek /run/kek/kek && install -d -m 0710 /run/keycast-signer/own"]
  securityContext: {{ include "keycast.security" . | nindent 4 }}
    runAsUser: 10002
  resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
  volumeMounts:
    - {name: kek, mountPath: /run/secrets/kek, readOnly: true}
    - {name: kek-owned, mountPath: /run/kek}
    - {name: socket, mountPath: /run/keycast-signer}
- name: signer
  image: {{ include "keycast.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: [signer]
  securityContext: {{ include "keycast.security" . | nindent 4 }}
    runAsUser: 10002
  env:
    - {name: KEYCAST_ENVIRONMENT, value: production}
    - {name: SECRET_KEY, value: unused-the-signer-serves-no-page}
    - {name: KEYCAST_FIELD_KEY, value: unused}
    - {name: DATABASE_URL, value: "sqlite://:memory:"}
    - {name: KEYCAST_DATA_DIR, value: /tmp}
    - {name: KEYCAST_KEK_FILE, value: /run/kek/kek}
    - {name: KEYCAST_SIGNER_SOCKET, value: /run/keycast-signer/own/signer.sock}
    - {name: KEYCAST_SIGNER_USERS, value: "10001,10002"}
    {{- include "keycast.shared" . | nindent 4 }}
  startupProbe: {exec: {command: [keycast-healthcheck]}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 30}
  livenessProbe: {exec: {command: [keycast-healthcheck]}, periodSeconds: 20, timeoutSeconds: 5}
  resources: {{ toYaml .Values.signer.resources | nindent 4 }}
  volumeMounts:
    - {name: kek-owned, mountPath: /run/kek, readOnly: true}
    - {name: socket, mountPath: /run/keycast-signer}
    - {name: signer-tmp, mountPath: /tmp}
    {{- if .Values.cosigner.enabled }}
    - {name: cosigner-tls, mountPath: /run/secrets/cosigner-tls, readOnly: true}
    {{- end }}
{{- end }}
